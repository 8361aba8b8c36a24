//! What admins and operators hold: dashboards, alerts, what it is deployed with, and the page that explains them. Each
//! is tried with the program that will read it, as far as that can be had without a container engine.

mod dashboards;
mod expressions;
mod faulty_run;
mod files;
mod prometheus;
mod prose;
mod rules;
