"""A DICOM node that de-identifies studies on their way from a staging PACS to a research PACS."""

__version__ = "0.1.0"
IMPLEMENTATION_CLASS = "2.25.317178998286135510851624490234674741300"
"""Implementation Class UID, of associations (PS3.7 D.3.3.2) and of written instances (PS3.10 7.1)."""
IMPLEMENTATION_VERSION = "DICOMNODE_" + ".".join(__version__.split(".")[:2])
