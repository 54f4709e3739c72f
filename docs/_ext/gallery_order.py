"""The order of the gallery: what to read first, and new examples at the end."""

ORDER = (
    "mislabels",
    "spam",
    "flip_a_prediction",
    "regression_diagnostics",
    "sketch_regression",
    "network_images",
    "network_skorch",
    "tracin_mlp",
    "tracin_cnn",
    "vae_tracin",
    "representer_linear",
    "representer_network",
    "representer_network_margin",
    "helpful_and_harmful_images",
    "svm_neighbours",
    "smoothing_the_hinge",
    "paper_density",
    "kde_counts_itself",
    "finding_outliers",
    "images",
    "pipeline",
    "erratum",
)


class ReadingOrder:
    """Key of sphinx-gallery for the order of examples in a folder."""

    def __init__(self, src_dir):
        pass

    def __call__(self, filename):
        name = filename.removeprefix("plot_").removesuffix(".py")
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)

    def __repr__(self):
        return type(self).__name__  # part of the configuration: it must not change between builds
