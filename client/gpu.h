/* The daemon's memory on a GPU, seen from the job's process: the CUDA driver, loaded when a job
 * asks for device memory. Internal. */
#ifndef ISTHMUS_CLIENT_GPU_H_
#define ISTHMUS_CLIENT_GPU_H_

#include <stddef.h>
#include <stdint.h>

#include "client/channel.h"

/* What is mapped; freed by isthmus_gpu_close(). */
typedef struct isthmus_gpu isthmus_gpu;

/* Loads the driver, finds the packet's device among those of this process, and maps what its
 * handles name: the parameters, and `gradient_bytes`, which may be 0, with a mark behind. Errors:
 * FAILED_PRECONDITION without a driver, or when the device is not visible here; RESOURCE_EXHAUSTED
 * and INTERNAL with the driver's words. */
isthmus_code isthmus_gpu_open(isthmus_channel* channel, const isthmus_wire_buffers* buffers,
                              size_t gradient_bytes, isthmus_gpu** gpu);
/* Waits for the device before it lets go; NULL is fine. */
void isthmus_gpu_close(isthmus_gpu* gpu);
/* Of a forked child's copy: frees it without a call to the driver, which does not survive a fork.
 */
void isthmus_gpu_abandon(isthmus_gpu* gpu);

/* Its number among those that the process sees. */
int isthmus_gpu_device(const isthmus_gpu* gpu);
void* isthmus_gpu_parameters(const isthmus_gpu* gpu);
void* isthmus_gpu_gradients(const isthmus_gpu* gpu);

/* Copies from anywhere the driver knows, or the host; done when isthmus_gpu_finish() is. */
isthmus_code isthmus_gpu_copy(isthmus_channel* channel, isthmus_gpu* gpu, void* to,
                              const void* from, size_t size_bytes);
isthmus_code isthmus_gpu_finish(isthmus_channel* channel, isthmus_gpu* gpu);

/* The daemon's work comes after what is queued on `stream` (a CUstream) by now, and after the mark
 * behind it, which becomes `step`. */
isthmus_code isthmus_gpu_hand_over(isthmus_channel* channel, isthmus_gpu* gpu, uint32_t step,
                                   void* stream);
/* What is queued on `stream` from here on comes after the daemon's work. */
isthmus_code isthmus_gpu_take_back(isthmus_channel* channel, isthmus_gpu* gpu, void* stream);

#endif /* ISTHMUS_CLIENT_GPU_H_ */
