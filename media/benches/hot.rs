//! What the hot pieces of a call cost, one by one: `./dev bench-hot`. The stages are those of
//! [`parlor_media::stages`], which the test of allocations counts as well.

use std::time::Duration;

use criterion::Criterion;
use parlor_media::stages;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    for stage in stages::all() {
        criterion.bench_function(stage.name, |bencher| {
            let mut step = (stage.make)();
            bencher.iter(&mut step);
        });
    }
    criterion.final_summary();
}
