"""The commands of `convatlas scale`, one file each."""
