"""Known motions turned into particle images and their truth; a model as real particles would show it."""
