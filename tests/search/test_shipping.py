"""The data travel once to a node, and workers need no disk of the driver's."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kdbench import data
from kdbench.search import cluster
from kdbench.search.shipping import receive, ship

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def spec(tmp_path):
    """A data set of two classes in a folder."""
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "images" / part / label
            folder.mkdir(parents=True)
            for index in range(3):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return data.parse({"folder": str(tmp_path / "images"), "name": "shipped"}, tmp_path)


def test_workers_use_what_was_shipped_and_share_its_memory(spec, tmp_path):
    cluster.prepare()
    import ray

    class Worker:
        def load(self, references):
            receive(spec, "train", references)
            images = data.load_training(spec).images.numpy()
            in_the_store, _ = ray.get(references["train"])
            return images, np.shares_memory(images, in_the_store)

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        expected = data.load_training(spec).images.numpy()
        references = ship(spec)
        shutil.rmtree(tmp_path / "images")
        workers = [ray.remote(Worker).remote() for _ in range(2)]
        for found, shared in ray.get([worker.load.remote(references) for worker in workers]):
            np.testing.assert_array_equal(found, expected)
            assert shared
    finally:
        ray.shutdown()
