"""The options of the tracker."""

from person_reid.config.option import FRACTION, POSITIVE, WHOLE, Options, option


class TrackerOptions(Options, title="tracker"):
    """Which boxes a tracker links, and how long it waits for somebody who is hidden."""

    track_score: float = option(0.5, "score from which a box is linked first", range=FRACTION)
    new_score: float = option(0.6, "score from which a box begins a track", range=FRACTION)
    low_score: float = option(
        0.1, "score from which a box may continue a track that no better box does", range=FRACTION
    )
    patience: float = option(
        1.0, "seconds after which somebody who is not found has gone", range=WHOLE
    )
    confirmations: int = option(3, "boxes one after the other that make a track", range=POSITIVE)
    least_seconds: float = option(0.2, "and how many seconds they last", range=WHOLE)
    appearance: bool = option(
        False, "also link boxes by how people look, for which every box of a frame is embedded"
    )
