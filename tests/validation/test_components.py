"""Which principal component of the run a common motion goes with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from tests.particles.made_up import particle_table

from cryosphere.validation.motions import common_motions
from cryosphere.validation.validate import _beside_components

from .scene import hinge_library, side
from .test_verdict import judged

IMAGES = 600


def test_a_motion_is_put_beside_the_component_that_it_goes_with_and_only_compared_images_are_encoded():
    generator = np.random.default_rng(0)
    truth = generator.uniform(-6, 6, IMAGES)
    noise = [tuple(generator.normal(scale=2.0, size=(2, IMAGES))) for _ in range(2)]
    sides = tuple(side(hinge_library(), truth, one) for one in noise)
    common = common_motions(*sides, particle_table(IMAGES), 0)
    latents = np.stack([3 * generator.normal(size=IMAGES), truth / 6], axis=1)
    test = 7 + 3 * np.arange(IMAGES)
    asked = []

    def encode(rows):
        asked.append(rows)
        return SimpleNamespace(mean=latents.astype(np.float32))

    found = _beside_components((judged(),), sides, common, SimpleNamespace(encode=encode), test)
    assert found[0].component == "pc2"  # the first one varies more, and has nothing to do with it
    assert found[0].component_correlation > 0.8
    assert [rows.tolist() for rows in asked] == [test.tolist()]
