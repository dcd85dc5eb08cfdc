"""Pictures of predicted beside true structures."""
