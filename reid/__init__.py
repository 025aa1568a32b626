"""Person re-identification: data, models, training, retrieval, pictures."""
