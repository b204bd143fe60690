import pytest
import torch

from tempograd import registry
from tempograd.search.evaluator import Training, train
from tempograd.search.recording import recorded
from tempograd.search.task import load_task

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(device="cpu"):
    torch.manual_seed(0)
    return SPACE.to_torch(SPACE.from_key("1.2.3.4.2.1")).to(device).train()


def test_elsewhere_than_on_a_cuda_device_nothing_changes():
    own = network()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    with recorded(own, torch.randn(4, 1, 8, 8)):
        assert "forward" not in vars(own)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


@on_cuda
def test_what_is_replayed_is_what_would_have_run():
    """Losses, weights and statistics of three steps, and evaluation between them."""
    images = torch.randn(3, 8, 1, 8, 8, device="cuda")
    found = []
    for replay in (False, True):
        own = network("cuda")
        optimizer = torch.optim.SGD(own.parameters(), 0.1)
        seen = []

        def steps(own=own, optimizer=optimizer, seen=seen):
            for batch in images:
                loss = own(batch).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen.append(float(loss))
            own.eval()
            seen.append(float(own(images[0, :3]).square().mean()))  # another shape
            own.train()

        if replay:
            with recorded(own, images[0]):
                steps()
        else:
            steps()
        assert "forward" not in vars(own)
        found.append((seen, own.state_dict()))
    (plain, state), (replayed, other) = found
    assert replayed == pytest.approx(plain, rel=1e-3)
    for name, value in state.items():
        torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-3)


@on_cuda
def test_a_network_trained_on_a_cuda_device_learns_as_on_the_cpu():
    task = load_task("digits,limit=600").fitted(SPACE)
    architecture = SPACE.from_key("1.2.3.4.2.3")
    found = [
        train(architecture, SPACE, task, Training(epochs=6, batch=32), seed=0, compute=compute)
        for compute in ("cpu", "cuda")
    ]
    assert all(next(trained.network.parameters()).device.type == "cpu" for trained in found)
    assert found[1].accuracy == pytest.approx(found[0].accuracy, abs=0.1)
    assert found[1].accuracy > 0.5
