//! What is answered to whom: the routes.

use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use actix_web::{HttpResponse, Route, web};

use super::health::{self, Answer};
use super::metrics::Metrics;
use super::status::Status;
use crate::service::{PipelineSnapshot, ServiceView};

/// The page: one file, nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// Allows the page its own style and script, and to ask us.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
                           script-src 'unsafe-inline'; connect-src 'self'; img-src data:";

/// The text format that Prometheus reads.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const NOT_FOUND: &str =
    "not found; there are: /, /health/live, /health/ready, /metrics, /api/status\n";

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/", web::get().to(page))
        .route("/health/live", read().to(live))
        .route("/health/ready", read().to(ready))
        .route("/metrics", read().to(metrics))
        .route("/api/status", read().to(status))
        .default_service(web::to(not_found));
}

/// GET or HEAD, which some probes ask by.
fn read() -> Route {
    web::route().guard(actix_web::guard::Any(actix_web::guard::Get()).or(actix_web::guard::Head()))
}

async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(PAGE)
}

async fn live(view: web::Data<ServiceView>) -> HttpResponse {
    health_answer(&view, health::live)
}

async fn ready(view: web::Data<ServiceView>) -> HttpResponse {
    health_answer(&view, health::ready)
}

fn health_answer(
    view: &ServiceView,
    judge: fn(&[PipelineSnapshot], Instant) -> Answer,
) -> HttpResponse {
    let answer = judge(&view.snapshot(), Instant::now());
    let status = match answer.is_ok() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(answer)
}

async fn metrics(view: web::Data<ServiceView>, metrics: web::Data<Metrics>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, METRICS_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(metrics.render(&view.snapshot()))
}

async fn status(view: web::Data<ServiceView>) -> HttpResponse {
    let status = Status::of(&view.snapshot(), Instant::now());
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(status)
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body(NOT_FOUND)
}
