"""A search that compares queries with every image."""

from collections.abc import Iterable, Sequence

from person_reid.gallery.contract import Image
from person_reid.gallery.metadata import Found
from person_reid.retrieval.neighbours import ExactNeighbours
from person_reid.retrieval.similarity import Features


def nearest_images(
    queries: Features, entries: Iterable[tuple[Sequence[Image], Features]], k: int
) -> list[list[Found]]:
    """Return for each query (Q, D) the k most similar images, the nearest first.

    entries: chunks of images and their features (n, D); equally similar images keep their order.
    """
    answers: list[list[Found]] = [[] for _ in queries]
    for images, features in entries:
        found = ExactNeighbours().search(queries, features, min(k, len(features)))
        near = zip(found.indices.tolist(), found.similarities.tolist(), strict=True)
        for answer, (places, similarities) in zip(answers, near, strict=True):
            for place, similarity in zip(places, similarities, strict=True):
                path, about = images[place]
                answer.append(Found(path, similarity, about))
            answer.sort(key=lambda image: -image.similarity)
            del answer[k:]
    return answers
