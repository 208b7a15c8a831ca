"""What the bundle runs: groups of tests that need neither Ray nor vLLM, each with its time."""

import importlib.util
from dataclasses import dataclass

BUDGET_S = 300  # of all parts together, with their start
NETWORKS = ("diffusers", "transformers", "sam2", "depth_anything", "swin2sr", "cyclegan", "vit_mae", "mms")


@dataclass(frozen=True)
class Group:
    """A row of the table: the tests in one file, all of them or those that drive these backends."""

    name: str
    file: str  # in `tests`, without `.py`
    seconds: int  # once they are over, the group's tests that are left are not run
    backends: tuple[str, ...] = ()
    needs: str | None = None  # a module that the bundle leaves out for its size: without it the group is skipped

    @property
    def lacks(self) -> str | None:
        """Why it cannot be run here."""
        if self.needs is None or importlib.util.find_spec(self.needs):
            return None
        return f"{self.needs} is not installed here, and the bundle leaves it out for its size"

    def has(self, file: str, backend: str | None) -> bool:
        """Whether it has a test in this file that drives this backend; none: no single one."""
        return file == self.file and (not self.backends or backend in self.backends)


# Each part is a process of its own: what a GPU lost in one is there for the next. The first say most of a GPU.
PARTS: dict[str, tuple[Group, ...]] = {
    "memory": (
        Group("memory: shares, out of memory, offload", "gpu/test_memory", 70),
        Group("numbers: float16, bfloat16, beside a CPU", "backends/test_numbers", 60),
    ),
    "speed": (
        Group("speed: beside plain diffusers", "gpu/test_beside_diffusers", 90),
        Group("speed: many at once", "gpu/test_speed", 30),
    ),
    "painters": (
        Group("diffusers: the contract", "backends/test_text_to_image", 40, ("diffusers",)),
        Group("diffusers: SDXL, FLUX, Qwen-Image", "backends/test_diffusers_families", 80),
        Group("diffusers: adapters, smaller numbers", "backends/test_painters", 40),
    ),
    "networks": (
        Group("transformers: the contract", "backends/test_language", 60, ("transformers",)),
        Group("SAM 2: the contract", "backends/test_segmentation", 30, ("sam2",)),
        Group("Depth Anything: the contract", "backends/test_depth", 40, ("depth_anything",)),
        Group("Swin2SR: the contract", "backends/test_image_enhancement", 40, ("swin2sr",)),
        Group("CycleGAN: the contract", "backends/test_image_translation", 40, ("cyclegan",)),
        Group("ViT-MAE: the contract", "backends/test_image_reconstruction", 30, ("vit_mae",)),
        Group("MMS: the contract", "backends/test_text_to_speech", 40, ("mms",), needs="av"),
        Group("all of them: loading and letting go", "backends/test_registry", 40, NETWORKS),
    ),
}
