"""The commands of `convatlas inspect`, one file each."""
