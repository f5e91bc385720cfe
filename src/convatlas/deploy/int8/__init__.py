"""Post-training quantization to int8."""
