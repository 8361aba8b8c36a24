//! The simulated LMS behind `passback lms`, `passback demo` and the tests.
