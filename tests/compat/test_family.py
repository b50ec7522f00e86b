"""The compat family itself: the fine-tunes are real, differ, and fit the base."""

import pytest

pytestmark = pytest.mark.compat


def test_fine_tunes_differ_from_the_base_in_values_only(family):
    from safetensors import safe_open

    with safe_open(family.base / "model.safetensors", "np") as base:
        for folder in family.tuned.values():
            with safe_open(folder / "model.safetensors", "np") as tuned:
                assert set(tuned.keys()) == set(base.keys())
                moved = [name for name in base.keys() if (base.get_tensor(name) != tuned.get_tensor(name)).any()]  # noqa: SIM118
        assert len(moved) > 90, "training moved nearly every tensor"
        assert "embeddings.position_ids" not in moved
