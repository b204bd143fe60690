"""What tempograd ships to test a package like this one."""

from tempograd.testing.devices import DeviceContract
from tempograd.testing.laws import LawContract
from tempograd.testing.methods import MethodContract
from tempograd.testing.models import ModelContract
from tempograd.testing.runtimes import RuntimeContract
from tempograd.testing.spaces import SpaceContract


class TestSpace(SpaceContract):
    names = ("chain",)


class TestDevice(DeviceContract):
    names = ("slide_rule:noise=0.02",)


class TestRuntime(RuntimeContract):
    names = ("onnx_reference",)
    always = names
    spaces = ("chain:blocks=4", "nasbench201:cells=1,width=4,size=8")


class TestModel(ModelContract):
    names = ("bayes",)


class TestLaw(LawContract):
    names = ("mean_gumbel",)


class TestMethod(MethodContract):
    names = ("mean_path",)
