"""Builds the kernels; everything else is in pyproject.toml.

The extensions are top-level modules, and not part of the package: in a checkout the directory `chunkpyramid` hides
the installed package, but not a module beside it. So the tests run from a checkout after `pip install .` too.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from itertools import chain

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# For each folder of kernels/ the module that is made of it. The one whose sources take longest is compiled first.
MODULES = {"reduce": "reduce", "exact_mode": "exact_mode", "labels": "labels", "common": "transpose"}

# Contracted multiplications and additions would round floats differently from one machine to the next. That nobody
# catches floating-point exceptions changes no value, and lets loops with a choice in them be vectorised. Python's own
# options have -g, which takes a third of the time for what only debuggers want to know.
OPTIONS = ["-O3", "-g0", "-std=c++17", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"]

# Set by .ci/sanitize. Python's own options have -fwrapv, with which no overflow of a signed integer is found.
SANITIZED = bool(os.environ.get("CHUNKPYRAMID_SANITIZE"))
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"] if SANITIZED else []
if SANITIZED:
    OPTIONS += [*SANITIZERS, "-fno-wrapv", "-O1", "-g", "-fno-omit-frame-pointer"]


def extension(folder, module):
    return Extension(
        f"_chunkpyramid_{module}",
        # those that begin with an underscore are written by Cython
        [f"kernels/{folder}/_{module}.pyx", *sorted(glob(f"kernels/{folder}/[!_]*.cpp"))],
        depends=sorted(
            chain(*(glob(f"kernels/{room}/*.{kind}") for room in ("common", folder) for kind in ("hpp", "pxi")))
        ),
        include_dirs=["kernels"],
        extra_compile_args=OPTIONS,
        extra_link_args=SANITIZERS,
        language="c++",
    )


class ParallelBuild(build_ext):
    """Compiles all sources of all extensions at the same time: the instruction sets take most of the minute."""

    def build_extensions(self):
        compile_some = self.compiler.compile

        def compile_all(sources, **options):
            objects = pool.map(lambda source: compile_some([source], **options), sources)
            return list(chain.from_iterable(objects))

        self.compiler.compile = compile_all
        # the threads that setuptools has for the extensions only wait for those that compile
        self.parallel = True
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            super().build_extensions()


setup(
    ext_modules=cythonize([extension(folder, module) for folder, module in MODULES.items()]),
    cmdclass={"build_ext": ParallelBuild},
)
