"""Convolutions and normalisations."""

from __future__ import annotations

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from tests.test_torch.network_table import Apply, network, rows  # noqa: E402

# -- convolutions ---------------------------------------------------------------------------------


def _conv(dims, *args, n=2, size=7, **kwargs):
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    channels = kwargs.get("groups", 1) * n
    layer = kind(channels, channels * 2, *args, **kwargs)
    pool = Apply(lambda x: torch.tanh(x).flatten(2).mean(2))
    return nn.Sequential(layer, pool, nn.Linear(channels * 2, 3)), (
        rows(channels, *(size,) * dims)
    )


@network
def conv1d():
    return _conv(1, 3, size=9)


@network
def conv1d_all_options():
    return _conv(1, 3, size=11, stride=2, padding=2, dilation=2, groups=2, bias=False)


@network
def conv1d_same():
    return _conv(1, 4, size=9, padding="same")


@network
def conv2d():
    return _conv(2, 3)


@network
def conv2d_strided():
    return _conv(2, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2))


@network
def conv2d_groups():
    return _conv(2, 3, groups=2, padding="same")


@network
def conv2d_depthwise():
    return _conv(2, 3, n=1, groups=4, stride=2, bias=False)


@network
def conv2d_circular():
    return _conv(2, 3, padding=1, padding_mode="circular")


@network
def conv2d_reflect():
    return _conv(2, 3, padding=(2, 1), padding_mode="reflect", stride=2)


@network
def conv3d():
    return _conv(3, 2, size=4)


@network
def conv_transposed():
    layers = (nn.ConvTranspose2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(100, 3))
    return nn.Sequential(*layers), rows(2, 3, 3)


@network
def conv_transposed_wide():
    """Many channels on a small map: patches are fewer numbers than the gradient."""
    layers = (nn.ConvTranspose2d(12, 10, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(90, 3)), rows(12, 2, 2)


@network
def conv_transposed_wide_margin():
    """Wide again, with more places in the output than patches of the input fill."""
    layers = (nn.ConvTranspose1d(12, 10, 2, stride=2, dilation=3, output_padding=2, bias=False),)
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(80, 3)), rows(12, 2)


@network
def cnn():
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    first = (nn.Conv2d(1, 4, 3), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2))
    second = (nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    layers = (*first, *second, nn.Dropout(0.5), nn.Linear(20, 3))
    return nn.Sequential(*layers), rows(1, 10, 10)


# -- normalisation --------------------------------------------------------------------------------


@network
def layer_norm():
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)), rows(4)


@network
def layer_norm_over_positions():
    layers = (nn.Linear(4, 6), nn.LayerNorm((5, 6)), nn.Tanh(), nn.LayerNorm(6, bias=False))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(30, 3)), rows(5, 4)


@network
def rms_norm():
    layers = (nn.Linear(4, 6), nn.RMSNorm(6), nn.Tanh(), nn.Flatten(), nn.Linear(30, 3))
    return nn.Sequential(*layers), rows(5, 4)


@network
def batch_norm():
    norm = nn.BatchNorm1d(6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return nn.Sequential(nn.Linear(4, 6), norm, nn.Tanh(), nn.Linear(6, 3)), rows(4)


@network
def group_norm():
    layers = (nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(), nn.Linear(36, 3))
    return nn.Sequential(*layers), rows(2, 5, 5)


@network
def instance_norm():
    layers = (nn.Conv1d(2, 4, 3), nn.InstanceNorm1d(4, affine=True), nn.Tanh(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(20, 3)), rows(2, 7)
