//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-PUUXZDIA.js";import"./chunk-ASYRGIEU.js";export{a as Activity,b as Invitations,c as NewProject};
