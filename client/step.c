/* Steps: the job's gradients to the daemon, and the word that the parameters are new. */
#include <math.h>
#include <string.h>

#include "client/session.h"

isthmus_code isthmus_lose(isthmus_session* session, isthmus_code code) {
  if (session->gpu == NULL) {
    isthmus_disconnect(&session->channel);
  } else {
    isthmus_leave(&session->channel);
  }
  session->stepping = false;
  /* To who polls it would mean "not yet", for ever: this session is over. */
  session->broken = code == ISTHMUS_DEADLINE_EXCEEDED ? ISTHMUS_ABORTED : code;
  return session->broken;
}

static isthmus_code check_rates(isthmus_channel* channel, const char* what, const float* rates,
                                uint32_t count) {
  for (uint32_t i = 0; rates != NULL && i < count; ++i) {
    if (!(rates[i] >= 0 && rates[i] <= ISTHMUS_MAX_RATE)) { /* NaN neither */
      return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                          "%s[%u]: expected a number from 0 to %g, got %g", what, i,
                          (double)ISTHMUS_MAX_RATE, (double)rates[i]);
    }
  }
  return ISTHMUS_OK;
}

static uint32_t ranks_of(const isthmus_session* session) {
  return session->info.world_size > 0 ? session->info.world_size : 1;
}

/* Each rank has an equal share of what its group may say, so that no sum has to be refused. */
static isthmus_code check_samples(isthmus_session* session, uint64_t samples) {
  const uint32_t ranks = ranks_of(session);
  const uint64_t most = ISTHMUS_MAX_SAMPLES / ranks;
  if (samples <= most) return ISTHMUS_OK;
  return isthmus_fail(
      &session->channel, ISTHMUS_INVALID_ARGUMENT,
      "samples: expected at most %llu (2^53 for the %u ranks of the group), got %llu",
      (unsigned long long)most, ranks, (unsigned long long)samples);
}

/* Mistakes are found here, where they cost the other ranks nothing. Of a job with an optimizer of
 * its own the rates are none of anybody's business. */
static isthmus_code check_step(isthmus_session* session, const isthmus_step_args* given,
                               isthmus_step_args* args) {
  isthmus_channel* channel = &session->channel;
  if (given == NULL ||
      !isthmus_copy_in(args, sizeof(*args), given, given->struct_size,
                       offsetof(isthmus_step_args, stream)) ||
      (args->lr == NULL && !session->period.own_optimizer)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "step args: expected struct_size %zu or more, and lr",
                        offsetof(isthmus_step_args, stream));
  }
  if (session->period.own_optimizer) return check_samples(session, args->samples);
  if (args->parameter_groups != session->parameter_groups) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT,
                        "parameter_groups: expected the layout's %u, got %u",
                        session->parameter_groups, args->parameter_groups);
  }
  isthmus_code code = check_rates(channel, "lr", args->lr, args->parameter_groups);
  if (code == ISTHMUS_OK) {
    code = check_rates(channel, "weight_decay", args->weight_decay, args->parameter_groups);
  }
  return code == ISTHMUS_OK ? check_samples(session, args->samples) : code;
}

/* Says that another step has been taken, and then looks whether it is the one to stop at: in that
 * order (job_wire.h). What counts is the session's own, which a forked child has a copy of. */
static bool exchange_named(isthmus_session* session, uint64_t samples) {
  isthmus_wire_pace* pace = session->pace;
  if (pace == NULL || *session->here == 0) return false;
  session->samples += samples;
  ++session->steps;
  __atomic_store_n(&pace->samples, session->samples, __ATOMIC_RELAXED);
  __atomic_store_n(&pace->steps, session->steps, __ATOMIC_SEQ_CST);
  return session->steps >= __atomic_load_n(&pace->exchange_at, __ATOMIC_SEQ_CST);
}

/* Counts a step of the job's own optimizer. What is due (job_wire.h), 0: nothing; the same answer
 * at all ranks, since they count the same steps. Once the run is over there is one more, which says
 * so. */
static uint32_t count_step(isthmus_session* session, const isthmus_step_args* args) {
  isthmus_period* period = &session->period;
  const isthmus_info* info = &session->info;
  const uint64_t most = ISTHMUS_MAX_SAMPLES / ranks_of(session);
  const bool named = exchange_named(session, args->samples);
  ++period->steps;
  period->samples = args->samples < most - period->samples ? period->samples + args->samples : most;
  period->skip |= args->skip != 0;
  if (isfinite(args->loss)) {
    const uint64_t weight = args->samples > 0 ? args->samples : 1;
    period->loss_sum += (double)args->loss * (double)weight;
    period->loss_samples += weight;
  }
  if (info->rounds > 0 && info->round >= info->rounds) return ISTHMUS_WIRE_GIVE;
  const bool give = period->taken && period->steps >= info->overlap_steps;
  const bool take = info->every_steps > 0 ? period->steps >= info->every_steps : named;
  if (!take) return give ? ISTHMUS_WIRE_GIVE : 0;
  /* The run's last exchange is waited for: there is nothing to go on for. */
  const uint64_t next = info->round + 1 + (give ? 1 : 0);
  const bool waits = info->overlap_steps == 0 || (info->rounds > 0 && next >= info->rounds);
  return (give ? ISTHMUS_WIRE_GIVE_FIRST : 0) | ISTHMUS_WIRE_TAKE | (waits ? ISTHMUS_WIRE_GIVE : 0);
}

/* What the daemon hears of the steps since the last that it took in, where it is to take them in.
 */
static isthmus_wire_step_begin sum_up(isthmus_session* session, uint32_t wants) {
  isthmus_period* period = &session->period;
  session->asked = *period;
  if ((wants & ISTHMUS_WIRE_TAKE) == 0) {
    period->taken = false;
    return (isthmus_wire_step_begin){
        .loss = NAN, .parameter_groups = session->parameter_groups, .wants = wants};
  }
  const isthmus_wire_step_begin message = {
      .samples = period->samples,
      .loss =
          period->loss_samples > 0 ? (float)(period->loss_sum / (double)period->loss_samples) : NAN,
      .skip = period->skip,
      .parameter_groups = session->parameter_groups,
      .wants = wants,
      .step = session->steps,
      .steps = period->steps};
  *period = (isthmus_period){.own_optimizer = true, .taken = (wants & ISTHMUS_WIRE_GIVE) == 0};
  return message;
}

/* Neither a system call nor anything of the daemon's. (Whether this is a forked child is asked at
 * the next exchange.) */
static isthmus_code begin_local_step(isthmus_session* session) {
  session->period.local = true;
  session->stepping = true;
  return ISTHMUS_OK;
}

isthmus_code isthmus_step_begin(isthmus_session* session, const isthmus_step_args* given) {
  if (session == NULL) return ISTHMUS_INVALID_ARGUMENT;
  const bool own = session->period.own_optimizer;
  isthmus_code code = own ? ISTHMUS_OK : isthmus_check_owner(session, "step_begin");
  if (code != ISTHMUS_OK) return code;
  if (session->broken != ISTHMUS_OK) return session->broken;
  if (session->ended) return ISTHMUS_END;
  if (session->stepping) {
    return isthmus_fail(&session->channel, ISTHMUS_FAILED_PRECONDITION,
                        "step_begin: rank %u has begun a step already; step_wait comes first",
                        session->info.rank);
  }
  if (session->aside != NULL) {
    return isthmus_fail(&session->channel, ISTHMUS_FAILED_PRECONDITION,
                        "step_begin: rank %u reads the anchor; read_anchor comes first",
                        session->info.rank);
  }
  isthmus_step_args args;
  code = check_step(session, given, &args);
  if (code != ISTHMUS_OK) return code;
  isthmus_wire_step_begin message = {.samples = args.samples,
                                     .loss = args.loss,
                                     .skip = args.skip != 0,
                                     .parameter_groups = args.parameter_groups,
                                     .wants = ISTHMUS_WIRE_TAKE | ISTHMUS_WIRE_GIVE};
  if (own) {
    const uint32_t wants = count_step(session, &args);
    if (wants == 0) return begin_local_step(session);
    code = isthmus_check_owner(session, "step_begin");
    if (code != ISTHMUS_OK) return code;
    message = sum_up(session, wants);
  } else {
    const size_t bytes = args.parameter_groups * sizeof(float);
    ++session->steps;
    memcpy(message.lr, args.lr, bytes);
    if (args.weight_decay != NULL) memcpy(message.weight_decay, args.weight_decay, bytes);
  }
  if (session->gpu != NULL) {
    session->stream = args.stream;
    code = isthmus_gpu_hand_over(&session->channel, session->gpu, (uint32_t)session->steps,
                                 args.stream);
    if (code != ISTHMUS_OK) return isthmus_lose(session, code);
  }
  session->channel.waiting[0] = '\0'; /* whatever it was, it is no reason any more */
  code = isthmus_send(&session->channel, ISTHMUS_WIRE_STEP_BEGIN, &message, sizeof(message), false);
  if (code != ISTHMUS_OK) return isthmus_lose(session, code);
  session->stepping = true;
  session->wants = message.wants;
  return ISTHMUS_OK;
}

/* OK where there is a step to wait for. */
static isthmus_code check_stepping(isthmus_session* session, const char* call) {
  if (session == NULL) return ISTHMUS_INVALID_ARGUMENT;
  if (session->stepping && session->period.local) return ISTHMUS_OK;
  const isthmus_code code = isthmus_check_owner(session, call);
  if (code != ISTHMUS_OK) return code;
  if (session->broken != ISTHMUS_OK) return session->broken;
  if (session->stepping) return ISTHMUS_OK;
  return isthmus_fail(&session->channel, ISTHMUS_FAILED_PRECONDITION,
                      "%s: rank %u has begun no step", call, session->info.rank);
}

/* `call`: whose name errors begin with. */
static isthmus_code poll_step(isthmus_session* session, const char* call, double seconds) {
  isthmus_code code = check_stepping(session, call);
  if (code != ISTHMUS_OK) return code;
  isthmus_channel* channel = &session->channel;
  if (!(seconds >= 0)) {
    return isthmus_fail(channel, ISTHMUS_INVALID_ARGUMENT, "%s: expected 0 seconds or more, got %g",
                        call, seconds);
  }
  if (session->period.local) return ISTHMUS_OK;
  code = isthmus_await(channel, seconds);
  if (code == ISTHMUS_DEADLINE_EXCEEDED) {
    const bool said = channel->waiting[0] != '\0';
    return isthmus_fail(channel, code, "the step is not done yet%s%.1900s",
                        said ? "; the daemon is " : "", channel->waiting);
  }
  /* A connection that broke is for step_wait to report, which does not block on it. */
  return code == ISTHMUS_INTERRUPTED ? code : ISTHMUS_OK;
}

isthmus_code isthmus_step_poll(isthmus_session* session, double seconds) {
  return poll_step(session, "step_poll", seconds);
}

/* The step is not the one where all ranks stop, after all: the count goes on. What else was due at
 * it is asked for now; if nothing was, it was a step like others. */
static isthmus_code go_on(isthmus_session* session) {
  session->period = session->asked;
  if ((session->wants & ISTHMUS_WIRE_GIVE_FIRST) == 0) return begin_local_step(session);
  session->wants = ISTHMUS_WIRE_GIVE;
  isthmus_wire_step_begin message = sum_up(session, session->wants);
  return isthmus_send(&session->channel, ISTHMUS_WIRE_STEP_BEGIN, &message, sizeof(message), false);
}

isthmus_code isthmus_step_wait(isthmus_session* session, isthmus_step_result* result) {
  isthmus_code code = check_stepping(session, "step_wait");
  if (code != ISTHMUS_OK) return code;
  if (session->period.local) {
    session->stepping = session->period.local = false;
    const isthmus_step_result none = {.round = session->info.round};
    if (result != NULL) isthmus_copy_out(result, result->struct_size, &none, sizeof(none));
    return ISTHMUS_OK;
  }
  isthmus_packet packet;
  code = isthmus_receive(&session->channel, ISTHMUS_WIRE_STEP_DONE, sizeof(isthmus_wire_step_done),
                         &packet);
  if (code == ISTHMUS_INTERRUPTED) return code; /* the step is still under way */
  if (code != ISTHMUS_OK) return isthmus_lose(session, code);
  if (session->gpu != NULL) {
    const isthmus_code taken =
        isthmus_gpu_take_back(&session->channel, session->gpu, session->stream);
    if (taken != ISTHMUS_OK) return isthmus_lose(session, taken);
  }
  const isthmus_wire_step_done* done = &packet.as.step_done;
  if (done->end == ISTHMUS_WIRE_GO_ON) {
    code = go_on(session);
    return code == ISTHMUS_OK ? isthmus_step_wait(session, result) : isthmus_lose(session, code);
  }
  const bool gave =
      done->end == 0 && (session->wants & (ISTHMUS_WIRE_GIVE | ISTHMUS_WIRE_GIVE_FIRST)) != 0;
  session->stepping = false;
  session->ended = done->end != 0;
  session->info.round = done->round;
  session->info.run_steps = done->run_steps;
  session->info.run_samples = done->run_samples;
  if (done->every_steps > 0) {
    session->info.every_steps = done->every_steps;
    session->info.overlap_steps = done->overlap_steps;
  }
  const isthmus_step_result said = {
      .round = done->round,
      .contributors = done->contributors,
      .merged_here = done->merged_here,
      .buckets = done->buckets,
      .loss = done->loss,
      .blocked_seconds = done->blocked_seconds,
      .local_seconds = done->local_seconds,
      .peer_wait_seconds = done->peer_wait_seconds,
      .link_wait_seconds = done->link_wait_seconds,
      .exchanged = gave && (session->period.own_optimizer || session->info.overlap_steps == 0 ||
                            done->contributors > 0),
      .nonfinite = done->nonfinite,
  };
  if (result != NULL) isthmus_copy_out(result, result->struct_size, &said, sizeof(said));
  return session->ended ? ISTHMUS_END : ISTHMUS_OK;
}

isthmus_code isthmus_step_wait_for(isthmus_session* session, double seconds,
                                   isthmus_step_result* result) {
  const isthmus_code code = poll_step(session, "step_wait_for", seconds);
  return code == ISTHMUS_OK ? isthmus_step_wait(session, result) : code;
}

isthmus_code isthmus_step(isthmus_session* session, const isthmus_step_args* args,
                          isthmus_step_result* result) {
  const isthmus_code code = isthmus_step_begin(session, args);
  return code == ISTHMUS_OK ? isthmus_step_wait(session, result) : code;
}
