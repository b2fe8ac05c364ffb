#include "cli/rehearse/flags.h"

#include <CLI/CLI.hpp>
#include <string>

namespace isthmus {
namespace {

void AddDeployment(CLI::App* app, RehearseFlags* flags) {
  const auto group = "Deployment (lists: one value for all sites, or one per site)";
  app->add_option("--sites", flags->sites, "How many sites (default: as many as a list has, or 2)")
      ->type_name("N")
      ->group(group);
  app->add_option("--ranks", flags->ranks, "Ranks per site, such as 2 or 1,2,3")
      ->type_name("N,...")
      ->capture_default_str()
      ->group(group);
  app->add_option("--link", flags->link,
                  "none, RATE/DELAY each way and one-way, or UP:DOWN/DELAY; a list too")
      ->type_name("SPEC,...")
      ->capture_default_str()
      ->group(group);
  app->add_option("--simd", flags->simd,
                  "Instruction set of the workers, such as scalar or scalar,avx2 (default: each "
                  "processor's best); it changes no bit")
      ->type_name("SET,...")
      ->group(group);
  app->add_option("--devices", flags->devices,
                  "Where the ranks of a site live: cpu; cuda (one GPU each, from the first); or "
                  "host-gpu, the GPU's code on the processor, slowly, for tests")
      ->type_name("DEVICE,...")
      ->capture_default_str()
      ->group(group);
  app->add_option("--deadline", flags->deadline,
                  "Commit a bucket without latecomers after this long, such as 60s, or off")
      ->type_name("TIME")
      ->capture_default_str()
      ->group(group);
  app->add_option("--audit-rounds", flags->audit_rounds,
                  "Compare the sites' states every so many rounds, and mend who differs; 0: never")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--fault", flags->faults,
                  "kill:SITE@ROUND kills a worker, which is started again; cut:SITE@ROUND/SECONDS "
                  "cuts a link; flip:SITE@ROUND flips a bit of a site's parameters after that "
                  "round; repeatable")
      ->type_name("FAULT")
      ->group(group)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

void AddExchange(CLI::App* app, RehearseFlags* flags) {
  const auto group = "Exchange between sites";
  app->add_option("--scheme", flags->scheme,
                  "flexdemo (compressed momentum), random, striding or slicing (parts of the "
                  "momentum without indices), full (gradients) or none (sites train apart)")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(group);
  app->add_option("--chunk", flags->chunk, "Elements of a DCT block, a power of two")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--k", flags->k,
                  "Elements sent per chunk (default: 2; random, striding, slicing: 8; full: all)")
      ->type_name("N")
      ->group(group);
  app->add_option("--values", flags->values,
                  "f32, bf16, 4bit, 1bit or sign (default: 1bit; random, striding, slicing: sign; "
                  "full: f32)")
      ->type_name("TYPE")
      ->group(group);
  app->add_option("--decay", flags->decay, "Of the momentum, per step")
      ->type_name("X")
      ->capture_default_str()
      ->group(group);
  app->add_option("--alpha", flags->alpha,
                  "The share of what is sent that leaves the momentum, up to 1")
      ->type_name("X")
      ->capture_default_str()
      ->group(group);
  app->add_flag_callback(
         "--sign", [flags] { flags->sign = true; },
         "Apply the sign of the merged direction (default: on; full: off)")
      ->group(group);
  app->add_flag_callback(
         "--no-sign", [flags] { flags->sign = false; }, "Apply the merged direction itself")
      ->group(group);
}

void AddTraining(CLI::App* app, RehearseFlags* flags) {
  const auto group = "Training";
  app->add_option("--text", flags->text, "File or directory of text to train on")
      ->type_name("PATH")
      ->group(group);
  app->add_option("--steps", flags->steps, "Rounds of the run")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--optimizer", flags->optimizer, "sgd or adamw (default: sgd; full: adamw)")
      ->type_name("NAME")
      ->group(group);
  app->add_option("--lr", flags->lr, "Learning rate after warm-up (default: as tuned per scheme)")
      ->type_name("X")
      ->group(group);
  app->add_option("--batch", flags->batch, "Sequences per step and rank")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--seed", flags->seed, "Of initial parameters and batches")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--lm-args", flags->lm_args, "Further flags of isthmus-lm, split at blanks")
      ->type_name("FLAGS")
      ->group(group);
}

void AddOutput(CLI::App* app, RehearseFlags* flags) {
  const auto group = "Output";
  app->add_option("--compare-steps", flags->compare_steps,
                  "Afterwards, rounds of scheme full on the same links to compare with; 0: none")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--json", flags->json, "Write the summary to this file")
      ->type_name("FILE")
      ->group(group);
  app->add_option("--keep,--work-dir", flags->keep,
                  "Keep every program's log and report in this directory")
      ->type_name("DIR")
      ->group(group);
  app->add_option("--bin-dir", flags->bin_dir, "Where the programs are (default: next to this one)")
      ->type_name("DIR")
      ->group(group);
}

}  // namespace

void AddRehearseFlags(CLI::App* app, RehearseFlags* flags) {
  // So that a script's own flags can be overridden by those it passes on.
  app->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  AddDeployment(app, flags);
  AddExchange(app, flags);
  AddTraining(app, flags);
  AddOutput(app, flags);
}

const char* RehearseExamples() {
  return R"(A job after -- runs instead of isthmus-lm, once per rank, with ISTHMUS_SOCKET, LOCAL_RANK and
LOCAL_WORLD_SIZE set. Progress goes to stderr, the summary to stdout.
Examples:
  isthmus rehearse --text book.txt --json result.json
  isthmus rehearse --text book.txt --ranks 1,2,3 --link 10mbit/40ms,50mbit/10ms,2mbit:20mbit/15ms
  isthmus rehearse --text book.txt --link none --compare-steps 0 --seed 7
  isthmus rehearse --text book.txt --fault kill:2@50 --fault cut:1@100/5 --fault flip:2@150
  isthmus rehearse --steps 100 -- ./my-job --flag
)";
}

}  // namespace isthmus
