"""After the run: density that the images of a conformation show, without the model's bias, and what of it is there."""
