"""A DICOM node that de-identifies studies on their way from a staging PACS to a research PACS."""

__version__ = "0.1.0"
