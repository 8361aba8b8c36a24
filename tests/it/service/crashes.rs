//! A disk that is full. What a kill leaves is in `kills`, what a power cut leaves in `power_cuts`.

use serde_json::json;

use super::worker::{LOCAL, Worker, wait_for};

/// A disk that takes no more: nothing is acknowledged that is not stored, reading goes on, everybody who looks is told;
/// and when there is room again, all that was acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_loud_and_loses_nothing() {
    let mut worker = Worker::new(LOCAL);
    worker.start_on_a_small_disk(6 * 1024).await;
    let mut acknowledged = Vec::new();
    let refused = wait_for("the disk to be full", async || {
        let number = acknowledged.len();
        let event = json!({
            "session_id": format!("s-{number}"), "event_id": format!("e-{number}"), "score": 8, "max_score": 10,
            "metadata": "x".repeat(30_000),
            "lis_data": {
                "lis_outcome_service_url": "https://lms.example.edu/o", "lis_result_sourcedid": format!("c-{number}"),
                "oauth_consumer_key": "nobody",
            },
        });
        match worker.post("/v1/events", &event).await {
            (202, answer) => {
                acknowledged.push(answer["events"][0]["id"].as_str().expect("an id").to_owned());
                None
            }
            (status, problem) => Some((status, problem)),
        }
    })
    .await;
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert!(acknowledged.len() > 10, "{} events fitted", acknowledged.len());
    let (status, missing) = worker.get_open("/readyz").await;
    assert_eq!((status, missing.contains("store")), (503, true), "{missing}");
    let (_, metrics) = worker.get_open("/metrics").await;
    assert!(metrics.contains("passback_store_healthy 0"), "the metric says so");
    assert!(worker.log().contains("store"), "the log says so");
    assert_eq!(worker.get(&format!("/api/v1/jobs/{}", acknowledged[0])).await["id"], acknowledged[0].as_str());
    assert_eq!(worker.get_open("/healthz").await.0, 200);
    worker.kill();
    worker.start().await;
    for id in &acknowledged {
        assert_eq!(worker.get(&format!("/api/v1/jobs/{id}")).await["id"], id.as_str());
    }
    let (status, _) = worker.get_open("/readyz").await;
    assert_eq!(status, 200);
}
