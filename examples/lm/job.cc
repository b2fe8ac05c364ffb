#include "examples/lm/job.h"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "examples/lm/file.h"
#include "examples/lm/isthmus_service.h"
#include "examples/lm/local_service.h"
#include "examples/lm/model_file.h"
#include "examples/lm/report.h"
#include "examples/lm/stop_signal.h"

namespace isthmus::lm {
namespace {

int Explain(const absl::Status& status, int exit_code) {
  std::fprintf(stderr, "isthmus-lm: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

int ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kCancelled:
      return 128 + StopSignal();
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kAborted:
      return kExitAborted;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
      return kExitRefused;
    default:
      return kExitFailed;
  }
}

absl::StatusOr<Text> LoadText(const Options& options) {
  absl::StatusOr<Text> text = Text::Load(options.text);
  if (!text.ok()) return text;
  const size_t needed = options.trainer.model.context + 1;
  if (text->train().size() < needed || text->validation().size() < needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text has ", text->train().size(), " bytes to train on and ", text->validation().size(),
        " to validate with, expected at least ", needed, " of each"));
  }
  return text;
}

OptimizerFactory OwnOptimizer(const Options& options) {
  if (options.own_optimizer != "muon") return AdamWFactory();
  MuonOptions muon;
  if (options.muon_lr) muon.lr_to_adamw = *options.muon_lr / options.trainer.schedule.peak;
  return MuonFactory(muon);
}

std::unique_ptr<ParameterService> MakeService(const Options& options) {
  if (options.local) return std::make_unique<LocalService>(OwnOptimizer(options));
  IsthmusOptions isthmus = options.isthmus;
  if (!options.own_optimizer.empty()) isthmus.own_optimizer = OwnOptimizer(options);
  return std::make_unique<IsthmusService>(isthmus);
}

// Where this rank writes what `path` asks for; empty: nowhere.
std::string PathForRank(const std::string& path, uint32_t rank) {
  const std::string own = absl::StrReplaceAll(path, {{"{rank}", absl::StrCat(rank)}});
  return rank == 0 || own != path ? own : "";
}

absl::Status WriteResults(const Options& options, const Report& report, const Trainer& trainer) {
  const uint32_t rank = report.standing.rank;
  const std::string report_path = PathForRank(options.report, rank);
  if (!report_path.empty()) {
    absl::Status status = WriteFile(report_path, ToJson(report));
    if (!status.ok()) return status;
  }
  const std::string curve_path = PathForRank(options.curve, rank);
  if (!curve_path.empty()) {
    absl::Status status = WriteFile(curve_path, CurveCsv(trainer.steps()));
    if (!status.ok()) return status;
  }
  const bool finished = report.validation_loss.has_value();
  if (!finished || options.save.empty()) return absl::OkStatus();
  return SaveModel(options.save, options.trainer.model, trainer.parameters());
}

void Summary(const Report& report) {
  std::fprintf(stderr,
               "round %llu  train %.4f  validation %.4f  (unigram %.4f)  step %.1f ms, of which "
               "forward and backward %.1f, blocked %.1f\n",
               static_cast<unsigned long long>(report.standing.round), report.figures.train_loss,
               report.validation_loss.value_or(0), report.unigram_entropy,
               report.figures.step * 1e3, report.figures.forward_backward * 1e3,
               report.figures.blocked * 1e3);
}

Report MakeReport(const Options& options, const Text& text, const Trainer& trainer) {
  Report report;
  report.standing = trainer.standing();
  report.seed = options.trainer.seed;
  report.parameters = static_cast<int64_t>(trainer.parameters().flat().size());
  report.steps = trainer.steps().size();
  report.tokens_per_step = uint64_t(options.trainer.batch) * options.trainer.model.context;
  report.figures = Summarise(trainer.steps());
  report.validation_curve = ValidationCurve(trainer.steps());
  report.unigram_entropy = text.UnigramEntropy();
  return report;
}

// Before anything is trained: what cannot be written in the end would be lost. The first rank's
// files stand for all.
absl::Status CheckOutputs(const Options& options) {
  for (const std::string& path :
       {PathForRank(options.report, 0), PathForRank(options.curve, 0), options.save}) {
    if (path.empty()) continue;
    absl::Status status = CheckWritable(path);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Says so where it cannot be read: of a sample alone it is the only result.
absl::Status PrintSample(const std::string& sample) {
  errno = 0;
  std::printf("%s\n", Printable(sample).c_str());
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "standard output");
}

int RunTraining(const Options& options) {
  const absl::Status writable = CheckOutputs(options);
  if (!writable.ok()) return Explain(writable, kExitFailed);
  absl::StatusOr<Text> text = LoadText(options);
  if (!text.ok()) return Explain(text.status(), kExitUsage);
  const std::unique_ptr<ParameterService> service = MakeService(options);
  Trainer trainer(options.trainer, *text, service.get());
  const absl::Status status = trainer.Run();
  // Stopped before the first step: there is nothing to report, nor a rank to report it as.
  const bool stopped = absl::IsCancelled(status) && !trainer.steps().empty();
  if (!status.ok() && !stopped) return Explain(status, ExitCodeFor(status));

  Report report = MakeReport(options, *text, trainer);
  if (status.ok() && report.standing.rank == 0) {
    Batch batch;
    report.validation_loss = ValidationLoss(*text, trainer.model(), &batch);
    report.sample = Sample(options.sample, trainer.model());
    if (options.trainer.log_every != 0) Summary(report);
  }
  const absl::Status written = WriteResults(options, report, trainer);
  if (!written.ok()) return Explain(written, kExitFailed);
  if (!report.sample.empty()) {
    if (absl::Status s = PrintSample(report.sample); !s.ok()) return Explain(s, kExitFailed);
  }
  return stopped ? Explain(status, ExitCodeFor(status)) : kExitDone;
}

int RunSampling(const Options& options) {
  absl::StatusOr<SavedModel> saved = LoadModel(options.load);
  if (!saved.ok()) return Explain(saved.status(), kExitFailed);
  Model<float> model(saved->config, /*max_batch=*/1);
  model.Bind(saved->parameters.pointers(), {});
  const absl::Status printed = PrintSample(Sample(options.sample, &model));
  return printed.ok() ? kExitDone : Explain(printed, kExitFailed);
}

}  // namespace

int RunJob(const Options& options) {
  return options.load.empty() ? RunTraining(options) : RunSampling(options);
}

}  // namespace isthmus::lm
