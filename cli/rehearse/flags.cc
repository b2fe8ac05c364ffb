#include "cli/rehearse/flags.h"

#include <CLI/CLI.hpp>
#include <string>

namespace isthmus {
namespace {

constexpr char kRunGroup[] =
    "Exchange between sites (defaults of flexdemo; another scheme has its own)";

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
  app->add_option("--link-trace", flags->link_trace,
                  "A file of how the link changes from when training begins, for all sites or for "
                  "each (- keeps to --link): lines of seconds and what the link is then, as in '0 "
                  "10mbit/40ms', '30 1mbit/40ms', '60 repeat'")
      ->type_name("FILE,...")
      ->group(group);
  app->add_option(
         "--pace", flags->pace,
         "Choose chunk size and k of flexdemo, or the steps between exchanges of local, by "
         "the measured links, so that jobs wait for them for at most this share of their "
         "time, such as 0.1, or off")
      ->type_name("SHARE")
      ->capture_default_str()
      ->group(group);
  app->add_option("--schedule", flags->schedule,
                  "A file of what formats rounds have, as isthmus-coordinator takes it")
      ->type_name("FILE")
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

void AddTraining(CLI::App* app, RehearseFlags* flags) {
  const auto group = "Training";
  app->add_option("--text", flags->text, "File or directory of text to train on")
      ->type_name("PATH")
      ->group(group);
  app->add_option("--steps", flags->steps,
                  "Steps of every rank: the run's rounds, or with scheme local --every times as "
                  "many; with --every in samples or seconds, rounds")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app->add_option("--lr", flags->lr, "Learning rate after warm-up (default: as tuned per scheme)")
      ->type_name("X")
      ->group(group);
  app->add_option("--own-optimizer", flags->own_optimizer,
                  "With scheme local: what isthmus-lm steps by, adamw or muon (default)")
      ->check(CLI::IsMember({"adamw", "muon"}))
      ->type_name("NAME")
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
                  "Afterwards, rounds of scheme full on the same links to compare with; 0: none, "
                  "as with a job of one's own in scheme local")
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
  app->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->group(kRunGroup);
  AddDeployment(app, flags);
  AddRunFlags(app, &flags->run, kDecidedFields);
  AddTraining(app, flags);
  AddOutput(app, flags);
}

const char* RehearseExamples() {
  return R"(A job after -- runs instead of isthmus-lm, once per rank, with ISTHMUS_SOCKET set and what
launchers set: LOCAL_RANK, LOCAL_WORLD_SIZE, RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, of a
world for each site; OMP_NUM_THREADS is this host's cores by all ranks, unless it is set already.
What jobs print is in the logs of --keep DIR, and shown where one fails. Progress goes to stderr, the summary to stdout.
Examples:
  isthmus rehearse --text book.txt --json result.json
  isthmus rehearse --text book.txt --ranks 1,2,3 --link 10mbit/40ms,50mbit/10ms,2mbit:20mbit/15ms
  isthmus rehearse --text book.txt --link none --compare-steps 0 --seed 7
  isthmus rehearse --text book.txt --fault kill:2@50 --fault cut:1@100/5 --fault flip:2@150
  isthmus rehearse --text book.txt --link 1mbit/40ms --scheme local --every 30 --steps 300
  isthmus rehearse --text book.txt --link 1mbit/40ms --pace 0.1 --steps 100
  isthmus rehearse --steps 100 -- ./my-job --flag
  isthmus rehearse --steps 100 --link 1mbit/40ms -- python train.py
)";
}

}  // namespace isthmus
