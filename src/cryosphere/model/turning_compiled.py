"""Turning points by parts of several segments' rotations, and its gradients, compiled for the processor by Numba.

See `cryosphere.model.turning` for what is computed. Gradients: where g is the one by R(r) d, the one by d is Rᵀ g, and
the one by the rotation vector r is Jᵀ((R d) × g), J being the left Jacobian of the rotations (Solà, Deray & Atchuthan
2018, appendix B).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cryosphere.compiling import Array, compiled


@compiled
def turn(points: Array, weights: Array, chosen: Array, motions: tuple[Array, Array], moved: Array) -> None:
    """Write the turned points (n, points, 3) into `moved`; the motions are rotations and pivots."""
    rotations, pivots = motions
    for image in range(len(rotations)):
        for p in range(len(points)):
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            for k in range(chosen.shape[1]):
                s = chosen[p, k]
                a, b, c = pivots[s, 0], pivots[s, 1], pivots[s, 2]
                v, q, _, _ = _quaternion(rotations[image, s], weights[p, k])
                x, y, z = _rotate((x - a, y - b, z - c), v, q)
                x, y, z = x + a, y + b, z + c
            moved[image, p, 0], moved[image, p, 1], moved[image, p, 2] = x, y, z


@compiled
def turn_back(
    points: Array, weights: Array, chosen: Array, motions: tuple[Array, Array], gradient: Array, out: Any
) -> None:
    """Add the gradients by weights, rotations and pivots to `out`, given that by the turned points."""
    rotations, pivots = motions
    to_weights, to_rotations, to_pivots = out
    keep = chosen.shape[1]
    arms, turns = np.empty((keep, 3), points.dtype), np.empty((keep, 6), points.dtype)
    for image in range(len(rotations)):
        for p in range(len(points)):
            x, y, z = points[p, 0], points[p, 1], points[p, 2]
            for k in range(keep):
                s = chosen[p, k]
                a, b, c = pivots[s, 0], pivots[s, 1], pivots[s, 2]
                v, q, sine, angle = _quaternion(rotations[image, s], weights[p, k])
                x, y, z = _rotate((x - a, y - b, z - c), v, q)
                arms[k, 0], arms[k, 1], arms[k, 2] = x, y, z
                turns[k, 0], turns[k, 1], turns[k, 2] = v
                turns[k, 3], turns[k, 4], turns[k, 5] = q, sine, angle
                x, y, z = x + a, y + b, z + c
            g = gradient[image, p, 0], gradient[image, p, 1], gradient[image, p, 2]
            for k in range(keep - 1, -1, -1):
                s, weight, omega = chosen[p, k], weights[p, k], rotations[image, chosen[p, k]]
                v, q = (turns[k, 0], turns[k, 1], turns[k, 2]), turns[k, 3]
                t = _cross((arms[k, 0], arms[k, 1], arms[k, 2]), g)
                to_weights[p, k] += omega[0] * t[0] + omega[1] * t[1] + omega[2] * t[2]  # J leaves what lies along r
                j = _transposed_jacobian(t, v, q, turns[k, 4], turns[k, 5])
                before = _rotate(g, (-v[0], -v[1], -v[2]), q)
                for axis in range(3):
                    to_rotations[image, s, axis] += weight * j[axis]
                    to_pivots[s, axis] += g[axis] - before[axis]
                g = before


@compiled
def _quaternion(omega: Array, weight: Any) -> Any:
    """Unit quaternion (v, q) of the rotation vector weight · omega, sin(a/2) and the angle a."""
    x, y, z = weight * omega[0], weight * omega[1], weight * omega[2]
    kind = omega.dtype.type
    angle = np.sqrt(x * x + y * y + z * z)
    half = kind(0.5) * angle
    sine = np.sin(half)
    scale = sine / angle if angle > kind(1e-12) else kind(0.5)
    return (scale * x, scale * y, scale * z), np.cos(half), sine, angle


@compiled
def _cross(a: Any, b: Any) -> Any:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@compiled
def _rotate(d: Any, v: Any, q: Any) -> Any:
    """The vector d turned by the unit quaternion (v, q): d + 2 q v × d + 2 v × (v × d)."""
    once = _cross(v, d)
    twice = _cross(v, once)
    twofold = q + q
    return (
        d[0] + twofold * once[0] + twice[0] + twice[0],
        d[1] + twofold * once[1] + twice[1] + twice[1],
        d[2] + twofold * once[2] + twice[2] + twice[2],
    )


@compiled
def _transposed_jacobian(t: Any, v: Any, q: Any, sine: Any, angle: Any) -> Any:
    """Jᵀ t = A t + (1 - A) â (â · t) - B â × t, with A = sin a / a and B = (1 - cos a) / a.

    As the quaternion has v = sin(a/2) â and q = cos(a/2): A = 2 sin(a/2) q / a and B = 2 sin²(a/2) / a.
    """
    if abs(sine) < 1e-12:
        return t
    doubled = (sine + sine) / angle
    shrunk = doubled * q
    along = (v[0] * t[0] + v[1] * t[1] + v[2] * t[2]) * (1 - shrunk) / (sine * sine)
    aside = _cross(v, t)
    return (
        shrunk * t[0] + along * v[0] - doubled * aside[0],
        shrunk * t[1] + along * v[1] - doubled * aside[1],
        shrunk * t[2] + along * v[2] - doubled * aside[2],
    )
