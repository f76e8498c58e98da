"""Other people's files on their way in, and the data sets that come of them."""
