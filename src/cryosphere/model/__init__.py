"""The probabilistic model: segmentation, deformation, encoders, decoder, posteriors, losses."""
