"""Real DICOM programs on free loopback ports, started and ended by the tests."""
