"""The engine of docs/extending.md, which tests hold to the contract of all galleries."""

from pathlib import Path

import numpy as np

from person_reid.gallery.checks import check_count, checked_features, known_of, state_of
from person_reid.gallery.contract import DECISIONS, TRACK_RECORDS
from person_reid.gallery.gallery import Gallery
from person_reid.gallery.index import Found
from person_reid.gallery.metadata import EVERYTHING, UNKNOWN_ABOUT, merged_about


class DictionaryGallery(Gallery):
    """A gallery in memory: {path: (state, feature, what is known)}."""

    path, new = "", True

    def __init__(self, address):
        self.path = address
        self.rows = {}
        self.told = {}
        self.noted = {}

    def __len__(self):
        return len(self.rows)

    def width(self):
        return next((len(feature) for _, feature, _ in self.rows.values()), None)

    def add(self, paths, features, abouts=None, states=None):
        features = checked_features(features, self.width(), self.path, paths)
        states = states or [state_of(path) for path in paths]
        known = known_of(abouts or {}, paths)
        for path, *row, about in zip(map(Path, paths), states, features, known, strict=True):
            *_, old = self.rows.get(path, (UNKNOWN_ABOUT,))
            self.rows[path] = *row, merged_about(old, about)

    def describe(self, abouts):
        known = dict(zip(map(Path, abouts), known_of(abouts, abouts), strict=True))
        there = [path for path in known if path in self.rows]
        for path in there:
            state, feature, old = self.rows[path]
            self.rows[path] = state, feature, merged_about(old, known[path])
        return len(there)

    def missing(self, paths):
        states = {path: state for path, (state, *_) in self.rows.items()}
        return [path for path in paths if states.get(Path(path)) != state_of(path)]

    def entries(self, which=EVERYTHING):
        every = [(path, about) for path, (_, _, about) in self.rows.items()]
        if images := [each for each in every if which.admits(*each)]:
            yield images, np.stack([self.rows[path][1] for path, _ in images])

    def search(self, queries, k, *, among=EVERYTHING):
        check_count(k)
        queries = checked_features(queries, self.width(), self.path)
        for images, features in self.entries(among):  # one chunk
            rows = queries @ features.T
            nearest = np.argsort(-rows, axis=1)[:, :k].tolist()
            return [
                [Found(images[i][0], float(row[i]), images[i][1]) for i in order]
                for row, order in zip(rows, nearest, strict=True)
            ]
        return [[] for _ in queries]

    def forget(self, which, asked, keep_crops=False):
        gone = dict(image for images in self.images(which) for image in images)
        for path in gone:
            del self.rows[path]
        left = {about.source for *_, about in self.rows.values()}
        for source in {about.source for about in gone.values()} - left:
            self.noted.get(TRACK_RECORDS, {}).pop(source, None)
            decisions = self.noted.get(DECISIONS, {})
            for name in [name for name in decisions if name.rpartition("/")[0] == source]:
                del decisions[name]
        return len(gone)

    def remember(self, values):
        self.told = {**values, **self.told}
        return {key: self.told[key] for key in values}

    def recall(self, key):
        return self.told.get(key)

    def note(self, kind, notes):
        kept = {name: note for name, note in self.notes(kind).items() if name not in notes}
        self.noted[kind] = kept | notes

    def notes(self, kind):
        return self.noted.get(kind, {})
