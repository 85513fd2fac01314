//! Just enough HTTP/1.1 for a scraper and a browser.
