// Linked into every test of the ThreadSanitizer build.
//
// Debian's Abseil is not instrumented, so ThreadSanitizer does not see that the reference count of
// an absl::Status orders its last reader before whoever frees it, and calls that a race.
extern "C" const char* __tsan_default_suppressions();

extern "C" const char* __tsan_default_suppressions() {
  return "race:^absl::*Status::Unref\n";
}
