//! What an operator reads: four-letter words, Prometheus text.
