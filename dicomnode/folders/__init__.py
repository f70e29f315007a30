"""De-identifying folders and object storage with the node's engine, in several processes."""
