//! What admins and operators hold: dashboards, alerts, what it is deployed with, and the page that explains them. Each
//! is tried with the program that will read it, as far as that can be had without a container engine.

mod configurations;
mod containers;
mod dashboards;
mod expressions;
mod faulty_run;
mod files;
mod kubernetes;
mod prometheus;
mod prose;
mod rabbitmq;
mod rules;
mod systemd;
