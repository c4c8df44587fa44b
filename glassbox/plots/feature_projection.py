"""The three directions in which circular features are drawn, and the two views of them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from glassbox.plots.arrays import Floats

View = Literal["oblique", "top"]
VIEWS: dict[View, str] = {
    "oblique": "from 25° above",
    "top": "first and second principal direction",
}
ELEVATION, AZIMUTH = np.deg2rad(25), np.deg2rad(-65)


def views_of(hidden: int) -> list[View]:
    """The views that show `hidden` neurons: from above at an angle only where there is a depth."""
    return ["oblique", "top"] if hidden > 2 else ["top"]


def principal_frame(rows: Floats) -> Floats:
    """Three orthonormal directions (H, 3) to draw the rows (N, H) in; zeros where H is below 3.

    With up to two dimensions they are the neurons themselves. Otherwise they are the principal
    directions about the origin, the first two rotated so that the first feature lies at the right
    and the features run counterclockwise, which makes panels comparable.
    """
    hidden = rows.shape[1]
    frame = np.eye(hidden, 3)
    if hidden < 3 or not np.isfinite(rows).all() or not rows.any():
        return frame
    frame = np.linalg.svd(rows, full_matrices=True)[2][:3].T
    x, y = (rows @ frame[:, :2]).T
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    if cross.sum() < 0:
        frame[:, 1], y = -frame[:, 1], -y
    angle = np.arctan2(y[0], x[0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame[:, :2] = frame[:, :2] @ turn
    if (rows @ frame[:, 2])[0] < 0:
        frame[:, 2] = -frame[:, 2]
    return frame


def project(rows: Floats, frame: Floats, view: View) -> tuple[Floats, Floats]:
    """Places (N, 2) on the paper and nearness to the eye (N,) of rows (N, H)."""
    x, y, z = (rows @ frame).T
    if view == "top":
        return np.column_stack([x, y]), z
    right = np.cos(AZIMUTH) * y - np.sin(AZIMUTH) * x
    back = -(np.cos(AZIMUTH) * x + np.sin(AZIMUTH) * y)
    up = np.cos(ELEVATION) * z + np.sin(ELEVATION) * back
    return np.column_stack([right, up]), np.sin(ELEVATION) * z - np.cos(ELEVATION) * back
