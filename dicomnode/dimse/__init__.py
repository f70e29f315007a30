"""DICOM over sockets: the storage and verification SCP, the C-STORE sender, queries, and what statuses mean."""
