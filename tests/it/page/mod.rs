//! The admin page: its door as programs see it, and all of it as people see it, in a real browser.

mod browser;
mod platforms;
mod sessions;
