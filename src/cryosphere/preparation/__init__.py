"""From particles and a model file to a folder that training takes as it is."""
