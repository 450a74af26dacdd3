"""Real candles through the whole workflow, summarized on one screen."""
