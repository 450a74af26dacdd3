"""Real candles through everything, on one screen."""
