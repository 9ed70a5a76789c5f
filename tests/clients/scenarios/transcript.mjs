export const transcript = [];
