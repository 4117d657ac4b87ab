//! Reading answer files: statistics, tables, plots, HTML.
