"""Builds the kernels; everything else is in pyproject.toml.

The extensions are top-level modules, and not part of the package: in a checkout the directory `chunkpyramid` hides
the installed package, but not a module beside it. So the tests run from a checkout after `pip install .` too.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = "kernels"
SOURCES = [
    "_kernels.pyx",
    "driver.cpp",
    "runs.cpp",
    "transpose.cpp",
    "variant_baseline.cpp",
    "variant_v3.cpp",
    "variant_v4.cpp",
]
HEADERS = ["kernels", "variant", "elements", "rows", "sum", "extreme", "mode", "render", "runs", "transpose"]

# Contracted multiplications and additions would round floats differently from one machine to the next. That nobody
# catches floating-point exceptions changes no value, and lets loops with a choice in them be vectorised. Python's own
# options have -g, which takes a third of the time for what only debuggers want to know.
OPTIONS = ["-O3", "-g0", "-std=c++17", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]

# Set by .ci/sanitize. Python's own options have -fwrapv, with which no overflow of a signed integer is found.
SANITIZED = bool(os.environ.get("CHUNKPYRAMID_SANITIZE"))
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"] if SANITIZED else []
if SANITIZED:
    OPTIONS += [*SANITIZERS, "-fno-wrapv", "-O1", "-g", "-fno-omit-frame-pointer"]

kernels = Extension(
    "_chunkpyramid_kernels",
    [f"{KERNELS}/{name}" for name in SOURCES],
    depends=[f"{KERNELS}/{name}.hpp" for name in HEADERS],
    include_dirs=[KERNELS],
    extra_compile_args=OPTIONS,
    extra_link_args=SANITIZERS,
    language="c++",
)

labels = Extension(
    "_chunkpyramid_labels",
    [f"{KERNELS}/labels/{name}" for name in ("_labels.pyx", "count.cpp")],
    depends=[f"{KERNELS}/labels/count.hpp"],
    include_dirs=[f"{KERNELS}/labels"],
    extra_compile_args=OPTIONS,
    extra_link_args=SANITIZERS,
    language="c++",
)


class ParallelBuild(build_ext):
    """Compiles the sources of an extension at the same time: the instruction sets take most of the minute."""

    def build_extensions(self):
        compile_some = self.compiler.compile

        def compile_all(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_some([source], **options), sources)
                return list(chain.from_iterable(objects))

        self.compiler.compile = compile_all
        super().build_extensions()


setup(ext_modules=cythonize([kernels, labels]), cmdclass={"build_ext": ParallelBuild})
