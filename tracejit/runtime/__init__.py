"""From a call to the machine code: by native code, or by way of Python."""
