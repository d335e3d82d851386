//! How the C library hands memory out, to librdkafka and to us.

/// Has all threads share as many pools of memory as there are processors, two at least. By itself
/// the C library gives nearly each thread one of its own, and what a batch leaves behind in the
/// pool of one stage is of no use to the next: with 64 MiB of `memory` that was 10 MiB. To be
/// called before there are threads. Does nothing where the C library is another one than glibc.
pub fn share_pools() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let pools = i32::try_from(processors.max(2)).unwrap_or(i32::MAX);
        // SAFETY: takes two numbers and no memory of ours; a refusal changes nothing.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, pools) };
    }
}
