//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-BRBZFOYM.js";import"./chunk-FDNK7SYW.js";export{a as Activity,b as Invitations,c as NewProject};
